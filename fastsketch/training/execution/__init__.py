"""How a step runs: in which precision, compiled or not, in how many processes."""
