-- Every de-duplicated line and return that was loaded, whatever its order's state: the control total of the source.
with sales as (
    select source, sum(sale_n) as rows_n, sum(sale_amount) as amount
    from {{ ref('int_order_totals') }}
    where is_current
    group by source
),

other_lines as (
    select source, kind, count(*) as rows_n, sum(line_amount) as amount
    from {{ ref('int_order_lines') }}
    where is_current and kind <> 'sale'
    group by source, kind
),

brought_back as (
    select source, count(*) as rows_n, -sum(refund_amount) as amount
    from {{ ref('int_returns') }}
    where is_current
    group by source
),

balance as (
    select source, 'sale' as kind, rows_n, amount from sales
    union all
    select source, 'return' as kind, rows_n, amount from brought_back
    union all
    select source, kind, rows_n, amount from other_lines
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
