-- M-06: loyalty as guide 002 sorts it, purchase behaviour, and Dick and Basu's grid of attitude by behaviour. Who has
-- never answered has an unknown attitude, never a bad one. Loyalty to a brand (S2-11) is that of the main category. What is
-- measured of every customer comes with her stage: a join by all of them costs half of what this model would.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

measured as (
    select
        lifecycle.*,
        attitudes.latest_nps,
        attitudes.nps_answered_on,
        attitudes.is_csat_top_box,
        brands.main_category,
        brands.main_category_days,
        brands.top_brand,
        brands.top_brand_share,
        coalesce(attitudes.latest_nps <= policy.nps_detractor_max, false) as is_detractor,
        case
            when attitudes.customer_key is null then null
            else coalesce(attitudes.latest_nps >= policy.nps_promoter_min, false)
                or coalesce(attitudes.is_csat_top_box, false)
        end as has_high_attitude
    from {{ ref('customer_lifecycle') }} as lifecycle
    left join {{ ref('int_customer_attitudes') }} as attitudes using (customer_key)
    left join {{ ref('int_customer_brands') }} as brands using (customer_key)
    cross join policy
),

judged as (
    select
        measured.*,
        {{ repeat_reason('measured') }} as repeat_reason,
        case
            when measured.purchase_days_n = 0 then 'never_bought'
            when measured.main_category is null and measured.f365 = 0 then 'no_purchase_in_window'
            when measured.main_category is null then 'category_unknown'
            when measured.top_brand is null then 'brand_unknown'
            when measured.main_category_days < policy.brand_purchase_days_min then 'too_few_purchases'
            when measured.top_brand_share >= policy.brand_share_min then 'one_brand'
            else 'several_brands'
        end as brand_loyalty_reason
    from measured
    cross join policy
)

select
    judged.customer_key,
    judged.as_of_date,
    {{ loyalty_class('judged') }} as loyalty_class,
    {{ behaviour_class('judged') }} as behaviour_class,
    case
        when judged.has_high_attitude is null then 'attitude_unknown'
        when judged.has_high_attitude and judged.repeat_reason = 'repeats' then 'true'
        when judged.has_high_attitude then 'latent'
        when judged.repeat_reason = 'repeats' then 'spurious'
        else 'none'
    end as attitude_class,
    case when judged.repeat_reason = 'repeats' and judged.is_detractor then 'detractor' else judged.repeat_reason end
        as loyalty_reason,
    judged.purchase_days_n > 0 as is_purchaser,
    judged.f365,
    judged.quarters_365 as repeat_quarters,
    judged.recency_days,
    judged.expected_gap,
    judged.gap_cv,
    judged.latest_nps,
    judged.nps_answered_on,
    prices.price_premium_index,
    case judged.brand_loyalty_reason
        when 'one_brand' then 'loyal'
        when 'several_brands' then 'switching'
        when 'never_bought' then 'no_purchase_in_window'
        when 'no_purchase_in_window' then 'no_purchase_in_window'
        else 'unknown'
    end as brand_loyalty_class,
    judged.brand_loyalty_reason,
    judged.main_category,
    judged.main_category_days,
    judged.top_brand,
    judged.top_brand_share,
    judged.policy_version
from judged
-- Where no category is known nobody has an index, and a join by all buyers would cost a third of this model.
left join (
    select customer_key, price_premium_index from {{ ref('int_customer_prices') }}
    where price_premium_index is not null
) as prices using (customer_key)
