"""`strata score`: the segments of any order file, by the SQL of the daily job, without a landing zone or a home."""
