# The tables of the study, as CSV files in the working directory; the class is the last column.
# Debian: r-cran-mlbench, r-cran-kernlab, r-cran-modeldata, r-cran-rrcov

put <- function(table, class, name = class) {
  table <- table[complete.cases(table), ]
  numbers <- model.matrix(~ . - 1, table[setdiff(names(table), class)])
  write.csv(cbind(as.data.frame(numbers), class = as.character(table[[class]])),
            paste0(name, ".csv"), row.names = FALSE)
}

numeric_factors <- function(table, which) {
  table[] <- lapply(table, function(v) if (which(v)) as.numeric(v) else v)
  table
}

library(mlbench)
for (name in c("DNA", "Glass", "Ionosphere", "LetterRecognition", "PimaIndiansDiabetes",
               "Satellite", "Sonar", "Vehicle", "Vowel")) {
  data(list = name)
  table <- get(name)
  write.csv(table[order(names(table) == "lettr")], paste0(name, ".csv"), row.names = FALSE)
}
data(BreastCancer, Zoo, Soybean, HouseVotes84)
levelled <- function(v) is.factor(v) && nlevels(v) > 2
put(numeric_factors(BreastCancer[-1], levelled), "Class", "biopsy")
put(numeric_factors(Zoo, is.logical), "type", "zoo")
put(numeric_factors(Soybean, is.ordered), "Class", "soybean")
votes <- HouseVotes84
votes[-1] <- lapply(votes[-1], function(v) ifelse(is.na(v), 0, ifelse(v == "y", 1, -1)))
put(votes, "Class", "votes")

data(spam, musk, package = "kernlab")
put(spam, "type", "spam")
put(musk, "Class", "musk")

data(cells, hpc_data, oils, penguins, scat, mlc_churn, package = "modeldata")
put(as.data.frame(cells)[-1], "class", "cells")
put(as.data.frame(hpc_data), "class", "hpc")
put(as.data.frame(oils), "class", "oils")
put(as.data.frame(penguins), "species", "penguins")
put(as.data.frame(scat), "Species", "scat")
put(as.data.frame(mlc_churn)[-1], "churn", "churn")

data(crabs, package = "MASS")
crabs$kind <- paste(crabs$sp, crabs$sex)
put(crabs[-(1:3)], "kind", "crabs")

data(olitos, fruit, package = "rrcov")
put(olitos, "grp", "olitos")
put(fruit, "cultivar", "fruit")
