"""Public formats whose files have names of their own; `catalogue.LAYOUTS` lists them."""
