{{ config(materialized='table') }}
-- Orders of which every unit of every line came back by returns that name them, today (`current`) and as known on the
-- refresh date. The unit total is checked first: only where it suffices are the lines read.
with named as (
    select returns.is_current, returns.source, returns.order_id, returns.line_no, returns.product_id, returns.qty
    from {{ ref('int_returns') }} as returns
    cross join {{ ref('int_run_policy') }} as policy
    where
        returns.type = 'refund'
        and returns.is_order_known
        and returns.return_date < case
            when returns.is_current then policy.as_of_date else policy.refresh_date
        end
),

candidates as (
    select named.is_current, named.source, named.order_id
    from named
    inner join {{ ref('int_orders') }} as orders
        on named.source = orders.source and named.order_id = orders.order_id
        and (
            (named.is_current and orders.is_current)
            or (not named.is_current and orders.is_known_at_refresh)
        )
    group by named.is_current, named.source, named.order_id
    having sum(named.qty) >= max(orders.sale_qty) and max(orders.sale_qty) > 0
),

-- Before lines are put right: few orders come back.
candidate_rows as (
    select delivered.* from {{ ref('stg_sales__order_lines') }} as delivered
    semi join candidates on delivered.source = candidates.source and delivered.order_id = candidates.order_id
),

candidate_lines as (
    {{ order_lines('candidate_rows') }}
),

sold as (
    select
        candidates.is_current, candidates.source, candidates.order_id, lines.product_id, lines.line_no,
        sum(lines.qty) as qty
    from candidate_lines as lines
    inner join candidates
        on lines.source = candidates.source and lines.order_id = candidates.order_id
    left join {{ ref('int_orders_changed') }} as changed
        on lines.source = changed.source and lines.order_id = changed.order_id
    where
        lines.kind = 'sale'
        and lines.is_current = (candidates.is_current or changed.order_id is null)
    group by candidates.is_current, candidates.source, candidates.order_id, lines.product_id, lines.line_no
),

by_line as (
    select is_current, source, order_id, line_no, sum(qty) as qty from named
    where line_no is not null
    group by is_current, source, order_id, line_no
),

by_product as (
    select is_current, source, order_id, product_id, sum(qty) as qty from named
    where line_no is null and product_id is not null
    group by is_current, source, order_id, product_id
),

unspecified as (
    select is_current, source, order_id, sum(qty) as qty from named
    where line_no is null and product_id is null
    group by is_current, source, order_id
),

kept_by_product as (
    select
        sold.is_current, sold.source, sold.order_id, sold.product_id,
        sum(greatest(sold.qty - coalesce(by_line.qty, 0), 0)) as qty
    from sold
    left join by_line using (is_current, source, order_id, line_no)
    group by sold.is_current, sold.source, sold.order_id, sold.product_id
),

kept as (
    select
        kept_by_product.is_current, kept_by_product.source, kept_by_product.order_id,
        sum(greatest(kept_by_product.qty - coalesce(by_product.qty, 0), 0)) as qty
    from kept_by_product
    left join by_product using (is_current, source, order_id, product_id)
    group by kept_by_product.is_current, kept_by_product.source, kept_by_product.order_id
)

select kept.is_current, kept.source, kept.order_id
from kept
left join unspecified using (is_current, source, order_id)
where kept.qty <= coalesce(unspecified.qty, 0)
