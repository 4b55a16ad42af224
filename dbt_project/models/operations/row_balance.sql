-- Every de-duplicated line and return that was loaded, whatever its order's state: the control total of the source, of each
-- currency apart. A source has one currency unless its orders or returns say otherwise; of a line its order says it.
with declared as (
    select source, max(currency) as currency from {{ ref('deliveries_in_force') }}
    group by source
),

-- Orders in another currency alone: there are few or none, and a join by all would cost more than the sums.
elsewhere as (
    select orders.source, orders.order_id, max(orders.currency) as currency
    from {{ ref('int_orders') }} as orders
    inner join declared on orders.source = declared.source and orders.currency <> declared.currency
    where orders.is_current
    group by orders.source, orders.order_id
),

sales as (
    select totals.source, elsewhere.currency, sum(totals.sale_n) as rows_n, sum(totals.sale_amount) as amount
    from {{ ref('int_order_totals') }} as totals
    left join elsewhere on totals.source = elsewhere.source and totals.order_id = elsewhere.order_id
    where totals.is_current
    group by totals.source, elsewhere.currency
),

other_lines as (
    select lines.source, elsewhere.currency, lines.kind, count(*) as rows_n, sum(lines.line_amount) as amount
    from {{ ref('int_order_lines') }} as lines
    left join elsewhere on lines.source = elsewhere.source and lines.order_id = elsewhere.order_id
    where lines.is_current and lines.kind <> 'sale'
    group by lines.source, elsewhere.currency, lines.kind
),

brought_back as (
    select source, currency, count(*) as rows_n, -sum(refund_amount) as amount
    from {{ ref('int_returns') }}
    where is_current
    group by source, currency
),

balance as (
    select source, currency, 'sale' as kind, rows_n, amount from sales
    union all
    select source, currency, 'return' as kind, rows_n, amount from brought_back
    union all
    select source, currency, kind, rows_n, amount from other_lines
)

select
    balance.source,
    balance.kind,
    coalesce(balance.currency, declared.currency) as currency,
    cast(balance.rows_n as bigint) as rows_n,
    {{ money('balance.amount') }} as amount,
    policy.as_of_date
from balance
left join declared on balance.source = declared.source
cross join {{ ref('int_run_policy') }} as policy
where balance.rows_n > 0
