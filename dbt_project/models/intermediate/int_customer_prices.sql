{{ config(materialized='table') }}
-- What a customer pays beside others: share bought on promotion, depth of the cuts beside the usual depth of the same
-- categories, and the price per piece beside their mean. Sums stay decimal, so that the order of rows cannot show; of them
-- only the shares are kept, which are half as wide.
with summed as (
    select
        goods.customer_key,
        {{ price_sums() }},
        round({{ rate(
            "sum(case when goods.category <> '' then goods.amount else 0 end)",
            "sum(case when goods.category <> '' then cast(goods.qty * usual.mean_price as decimal(38, 11)) else 0 end)"
        ) }}, 8) as price_premium_index
    from {{ ref('int_customer_categories') }} as goods
    inner join {{ ref('int_category_bounds') }} as usual using (category)
    group by goods.customer_key
)

select
    customer_key,
    {{ money('amount') }} as amount,
    {{ price_shares('summed') }},
    price_premium_index
from summed
