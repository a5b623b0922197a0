"""What tests share: corpora, sites and canaries."""
