"""`make bench-chat`: chat and its peers under the same load, each on one core."""
