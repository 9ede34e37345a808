"""`spillway demo`: the deployed system grades examples/grading on the embedded cloud, measured from outside."""
