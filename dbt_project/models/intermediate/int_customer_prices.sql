{{ config(materialized='table') }}
-- What a customer pays beside others: share bought on promotion, depth of the cuts beside the usual depth of the same
-- categories, and the price per piece beside their mean. Sums stay decimal, so that the order of rows cannot show.
with categories as (
    select
        category,
        cast(sum(amount) as double) / nullif(cast(sum(qty) as double), 0) as mean_price,
        {{ quantile('1 - cast(promo_paid_amount as double) / cast(nullif(promo_list_amount, 0) as double)', 0.5) }}
            filter (where promo_list_amount > 0) as usual_depth
    from {{ ref('int_customer_categories') }}
    group by category
),

-- The median lies on a customer's own depth or halfway between two, so eight decimals leave no noise.
rounded as (
    select
        category,
        cast(round(mean_price, 8) as decimal(18, 8)) as mean_price,
        cast(round(usual_depth, 8) as decimal(9, 8)) as usual_depth
    from categories
)

select
    bought.customer_key,
    sum(bought.amount) as amount,
    sum(bought.net_amount) as net_amount,
    sum(bought.known_amount) as known_amount,
    sum(bought.promo_amount) as promo_amount,
    sum(bought.promo_list_amount) as promo_list_amount,
    sum(bought.promo_list_amount) - sum(bought.promo_paid_amount) as saved_amount,
    sum(cast(bought.promo_list_amount * rounded.usual_depth as decimal(38, 12))) as usual_saved_amount,
    round({{ rate(
        "sum(case when bought.category <> '' then bought.amount else 0 end)",
        "sum(case when bought.category <> '' then cast(bought.qty * rounded.mean_price as decimal(38, 11)) else 0 end)"
    ) }}, 8) as price_premium_index
from {{ ref('int_customer_categories') }} as bought
inner join rounded using (category)
group by bought.customer_key
