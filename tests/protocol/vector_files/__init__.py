"""What each file of vectors holds, a module a file; `write_vectors` writes them."""
