"""Takes records in: reads, checks, resolves and prices them, stores them in group commits or spools them."""
