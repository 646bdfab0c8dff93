"""The experiment behind `floop demo`: a simulated fleet works, its world shifts, and the loop brings success back."""
