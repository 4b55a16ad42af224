-- What the purchase model foretells of a customer, where it has beaten the formula.
{{ forecasts_known(ref('int_run_policy')) }}
