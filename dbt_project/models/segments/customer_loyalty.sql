-- M-06: loyalty as guide 002 sorts it, purchase behaviour, and Dick and Basu's grid of attitude by behaviour. Who has
-- never answered has an unknown attitude, never a bad one. Loyalty to a brand (S2-11) is that of the main category.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

measured as (
    select
        traits.*,
        coalesce(traits.latest_nps <= policy.nps_detractor_max, false) as is_detractor,
        case
            when not traits.has_answered then null
            else coalesce(traits.latest_nps >= policy.nps_promoter_min, false) or coalesce(traits.is_csat_top_box, false)
        end as has_high_attitude
    from {{ ref('int_customer_traits') }} as traits
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
    judged.price_premium_index,
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
