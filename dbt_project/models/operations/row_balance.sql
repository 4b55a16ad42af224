-- Every de-duplicated line and return that was loaded, whatever its order's state: the control total of the source.
with lines as (
    select
        source,
        sum(sale_n) as sale_n,
        sum(sale_amount) as sale_amount,
        sum(adjustment_n) as adjustment_n,
        sum(adjustment_amount) as adjustment_amount,
        sum(stock_movement_n) as stock_movement_n
    from {{ ref('int_order_totals') }}
    where is_current
    group by source
),

brought_back as (
    select source, count(*) as return_n, -sum(refund_amount) as return_amount
    from {{ ref('int_returns') }}
    where is_current
    group by source
),

balance as (
    select source, 'sale' as kind, sale_n as rows_n, sale_amount as amount from lines
    union all
    select source, 'return' as kind, return_n as rows_n, return_amount as amount from brought_back
    union all
    select source, 'adjustment' as kind, adjustment_n as rows_n, adjustment_amount as amount from lines
    union all
    select source, 'stock_movement' as kind, stock_movement_n as rows_n, 0 as amount from lines
)

select
    balance.source,
    balance.kind,
    cast(balance.rows_n as bigint) as rows_n,
    {{ money('balance.amount') }} as amount,
    policy.as_of_date
from balance
cross join {{ ref('int_run_policy') }} as policy
where balance.rows_n > 0
