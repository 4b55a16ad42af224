"""Strata: raw sales, channel and survey data into customer segments that marketing tools can trust."""
