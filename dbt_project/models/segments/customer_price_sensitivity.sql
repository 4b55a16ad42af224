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
        prices.promo_share,
        prices.known_share,
        prices.promo_depth,
        prices.usual_depth
    from {{ ref('int_customer_facts') }} as facts
    left join {{ ref('int_customer_prices') }} as prices using (customer_key)
),

judged as (
    select
        measured.*,
        {{ price_reason('measured') }} as reason
    from measured
    cross join policy
)

select
    judged.customer_key,
    judged.as_of_date,
    {{ price_sensitivity_class('judged.reason') }} as price_sensitivity_class,
    judged.reason as price_sensitivity_reason,
    judged.f365 as purchase_days_365,
    judged.promo_share,
    judged.promo_depth,
    judged.usual_depth,
    true as is_inferred,
    judged.policy_version
from judged
