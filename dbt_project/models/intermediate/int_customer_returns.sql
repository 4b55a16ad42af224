-- Returns per customer and day, booked on their own day.
select
    customer_key,
    return_date as day,
    sum(refund_net) as refund_net,
    sum(profit_reversed) as profit_reversed,
    bool_or(profit_reversed is null) as is_profit_unknown,
    bool_or(profit_is_estimated) as profit_is_estimated
from {{ ref('fct_returns') }}
where is_valid
group by customer_key, return_date
