"""Tables, comparisons and the page; reads result files and needs no JAX."""
