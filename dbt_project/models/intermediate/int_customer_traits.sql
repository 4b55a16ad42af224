{{ config(materialized='table') }}
-- What loyalty and affinity are told by, joined once beside the stage of every customer, so that those two only read.
with leanings as (
    select
        customer_key,
        min_by(category, (-affinity_index, category)) filter (where is_affine) as top_category,
        max(affinity_index) filter (where is_affine) as top_affinity_index,
        min_by(share, (-affinity_index, category)) filter (where is_affine) as top_category_share,
        count(*) filter (where is_affine) as affinities_n,
        count(*) as categories_n,
        -- Which categories, as one number.
        bit_xor({{ row_hash(['category']) }}) as categories_bought
    from {{ ref('int_customer_affinities') }}
    group by customer_key
),

-- Of those without any of the above: who bought all the same, of an unknown category or what came back.
recent as (
    select customer_key from {{ ref('int_customer_categories') }}
    where recent_days > 0 and (category = '' or recent_amount <= 0)
    group by customer_key
)

select
    lifecycle.customer_key,
    lifecycle.as_of_date,
    lifecycle.stage,
    lifecycle.recency_days,
    lifecycle.purchase_days_n,
    lifecycle.expected_gap,
    lifecycle.f365,
    lifecycle.quarters_365,
    lifecycle.gap_cv,
    attitudes.customer_key is not null as has_answered,
    attitudes.latest_nps,
    attitudes.nps_answered_on,
    attitudes.is_csat_top_box,
    brands.main_category,
    brands.main_category_days,
    brands.top_brand,
    brands.top_brand_share,
    prices.price_premium_index,
    leanings.customer_key is not null as has_categories,
    recent.customer_key is not null as has_bought_beside,
    leanings.top_category,
    leanings.top_affinity_index,
    leanings.top_category_share,
    leanings.affinities_n,
    leanings.categories_n,
    leanings.categories_bought,
    lifecycle.policy_version
from {{ ref('customer_lifecycle') }} as lifecycle
left join {{ ref('int_customer_attitudes') }} as attitudes using (customer_key)
left join {{ ref('int_customer_brands') }} as brands using (customer_key)
-- Where no category is known nobody has an index, and a join by all buyers would cost as much as the others together.
left join (
    select customer_key, price_premium_index from {{ ref('int_customer_prices') }}
    where price_premium_index is not null
) as prices using (customer_key)
left join leanings using (customer_key)
left join recent using (customer_key)
