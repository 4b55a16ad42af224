"""What a customer is likely to buy next, and whether that forecast is worth more than a simple rule."""
