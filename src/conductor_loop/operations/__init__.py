"""What a running daemon shows of itself, and to whom."""
