{{ config(materialized='table') }}
-- What customers are compared with in a category: its share of what all spend, the mean price of a piece, and the depth of
-- price cuts of the median customer.
with counted as (
    select
        category,
        sum(recent_amount) filter (where category <> '' and recent_amount > 0) as recent_amount,
        cast(sum(amount) as double) / nullif(cast(sum(qty) as double), 0) as mean_price,
        {{ quantile('1 - cast(promo_paid_amount as double) / cast(nullif(promo_list_amount, 0) as double)', 0.5) }}
            filter (where promo_list_amount > 0) as usual_depth,
        count(*) filter (where promo_list_amount > 0) as depth_people_n,
        count(*) filter (where recent_amount > 0) as share_people_n
    from {{ ref('int_customer_categories') }}
    group by category
)

-- The median lies on a customer's own depth or halfway between two, so eight decimals leave no noise.
select
    counted.category,
    cast(counted.recent_amount as double) / cast(totals.amount as double) as share_of_all,
    cast(round(counted.mean_price, 8) as decimal(18, 8)) as mean_price,
    cast(round(counted.usual_depth, 8) as decimal(9, 8)) as usual_depth,
    counted.depth_people_n,
    counted.share_people_n
from counted
cross join (select sum(recent_amount) as amount from counted) as totals
