-- S1-34, P-21: who buys on promotion, and deeper than others do in the same categories. It never sets a price (C-12).
with policy as (
    select * from {{ ref('int_run_policy') }}
),

measured as (
    select
        facts.customer_key,
        facts.as_of_date,
        facts.policy_version,
        facts.purchase_days_n,
        facts.f365,
        prices.amount,
        {{ rate('prices.promo_amount', 'prices.known_amount') }} as promo_share,
        {{ rate('prices.known_amount', 'prices.amount') }} as known_share,
        round({{ rate('prices.saved_amount', 'prices.promo_list_amount') }}, 8) as promo_depth,
        round({{ rate('prices.usual_saved_amount', 'prices.promo_list_amount') }}, 8) as usual_depth
    from {{ ref('int_customer_facts') }} as facts
    left join {{ ref('int_customer_prices') }} as prices using (customer_key)
),

judged as (
    select
        measured.*,
        case
            when measured.purchase_days_n = 0 then 'never_bought'
            when measured.f365 < policy.price_purchase_days_min then 'too_few_purchases'
            when coalesce(measured.amount, 0) <= 0 then 'nothing_spent'
            when measured.promo_share is null or measured.known_share < policy.price_known_share_min
                then 'prices_unknown'
            when measured.promo_share <= policy.price_insensitive_share_max then 'few_promotions'
            when measured.promo_share < policy.price_sensitive_share_min then 'some_promotions'
            when measured.promo_depth is null then 'depth_unknown'
            when measured.promo_depth >= measured.usual_depth then 'deep_promotions'
            else 'shallow_promotions'
        end as reason
    from measured
    cross join policy
)

select
    judged.customer_key,
    judged.as_of_date,
    case
        when judged.reason = 'deep_promotions' then 'sensitive'
        when judged.reason = 'few_promotions' then 'not_sensitive'
        when judged.reason in ('some_promotions', 'shallow_promotions') then 'mixed'
        else 'unknown'
    end as price_sensitivity_class,
    judged.reason as price_sensitivity_reason,
    judged.f365 as purchase_days_365,
    judged.promo_share,
    judged.promo_depth,
    judged.usual_depth,
    true as is_inferred,
    judged.policy_version
from judged
