-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
{{ staged_orders(source('raw', 'orders')) }}
