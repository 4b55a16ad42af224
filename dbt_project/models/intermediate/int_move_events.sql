{{ config(materialized='table') }}
-- What happened to movers between the builds, and the cause that it tells where a class is not scored again. One row per move.
with today as (
    select * from {{ ref('int_run_policy') }}
),

bounds as (
    select * from {{ ref('class_bounds') }}
),

before as (
    {{ build_before() }}
),

relinked as (
    select customer_key from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_to > before.as_of_date
    union
    select merged_into from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_to > before.as_of_date
    where merged_into is not null
    union
    select customer_key from {{ ref('dim_identity_links') }} as links
    inner join before on links.valid_from > before.as_of_date
    where split_from is not null
),

active as ({{ customers_active_since('before') }}),

-- Who looked for something or put it into a cart since, or whose profile was delivered anew.
acted as (
    select signals.customer_key
    from {{ ref('int_customer_signals') }} as signals
    inner join before
        on greatest(signals.need_cart_date, signals.need_lead_date, signals.need_view_date, signals.checkout_date,
            signals.open_cart_date, signals.open_view_date) >= before.as_of_date
),

stated as (
    select distinct links.customer_key
    from {{ ref('stg_customers__customers') }} as records
    inner join before on records.dt >= before.as_of_date
    inner join {{ ref('int_customer_links') }} as links
        on records.source = links.source and records.source_customer_id = links.source_customer_id and links.is_current
    where records.is_in_force
)

select
    moves.customer_key,
    moves.scheme,
    moves.from_class,
    moves.to_class,
    moves.published_class,
    moves.published_since,
    relinked.customer_key is not null as is_relinked,
    active.customer_key is not null as is_active,
    coalesce(active.has_answered, false) as has_answered,
    coalesce(active.has_complained, false) as has_complained,
    stated.customer_key is not null as is_stated_anew,
    coalesce(before.rules <> bounds.rules, false) as has_other_rules,
    case
        when relinked.customer_key is not null then 'merge_split'
        when active.has_bought then 'own_order'
        when active.has_returned then 'refund_or_correction'
        when active.has_answered then 'own_answer'
        when active.has_complained then 'complaint'
        when before.rules <> bounds.rules or before.policy_version <> bounds.policy_version then 'policy_change'
        when stated.customer_key is not null then 'profile_update'
        when acted.customer_key is not null then 'own_activity'
        else 'ageing'
    end as told_cause
from {{ ref('int_class_changes') }} as moves
cross join today
inner join bounds on bounds.as_of_date = today.as_of_date
left join before on true
left join relinked on moves.customer_key = relinked.customer_key
left join active on moves.customer_key = active.customer_key
left join acted on moves.customer_key = acted.customer_key
left join stated on moves.customer_key = stated.customer_key
