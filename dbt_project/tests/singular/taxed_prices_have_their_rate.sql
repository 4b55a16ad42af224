{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_order_lines'}}, 'description': "A source says that its prices include tax, and no tax rate is known for much of what it sells (Q-04): net revenue of these lines holds the tax."}) }}
with untaxed as (
    select products.product_id
    from {{ ref('dim_products') }} as products
    inner join {{ ref('int_run_policy') }} as policy on policy.default_tax_rate = 0
    where products.tax_rate is null and products.is_merchandise
),

lines as (
    select source, product_id, line_amount from {{ ref('fct_order_lines') }}
    where price_includes_tax and kind = 'sale'
),

counted as (
    select
        lines.source,
        count(*) as lines_n,
        count(untaxed.product_id) as untaxed_n,
        sum(case when untaxed.product_id is not null then lines.line_amount end) as amount,
        min(untaxed.product_id) as example
    from lines
    left join untaxed on lines.product_id = untaxed.product_id
    group by lines.source
)

select counted.*
from counted
inner join {{ ref('int_run_policy') }} as policy
    on counted.untaxed_n > policy.orphan_rows_min
    and counted.untaxed_n > policy.orphan_product_share_max * counted.lines_n
