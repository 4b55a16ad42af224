{{ config(materialized='table') }}
-- People of whom no profile may be made. They leave before segmentation, each with the first reason by the policy's order.
with requested as (
    select
        requests.customer_key,
        case requests.kind when 'delete' then 'erased' when 'restrict' then 'restricted' else 'objected_profiling' end
            as reason,
        min(requests.received_date) as excluded_from
    from {{ ref('int_requests') }} as requests
    cross join {{ ref('int_run_policy') }} as policy
    left join {{ ref('fct_consent_states') }} as states
        on requests.customer_key = states.customer_key and states.purpose = 'profiling' and states.is_granted
        and states.valid_from > requests.received_date
    where requests.customer_key is not null
        and requests.kind in ('delete', 'restrict', 'object')
        and (requests.lifted_date is null or requests.lifted_date >= policy.as_of_date)
        -- A grant given later takes an objection back, and only that.
        and (requests.kind <> 'object' or states.customer_key is null)
    group by requests.customer_key, requests.kind
),

withdrawn as (
    select customer_key, 'withdrew_profiling' as reason, max(valid_from) as excluded_from
    from {{ ref('fct_consent_states') }}
    where purpose = 'profiling'
    group by customer_key
    having not bool_or(is_granted)
),

children as (
    select ages.customer_key, 'under_14' as reason, cast('2000-01-01' as date) as excluded_from
    from {{ ref('int_customer_ages') }} as ages
    cross join {{ ref('int_run_policy') }} as policy
    where ages.youngest_age < policy.profiling_min_age
),

reasons as (
    select * from requested
    union all
    select * from withdrawn
    union all
    select * from children
),

ranked as (
    select
        reasons.*,
        min(reasons.excluded_from) over (partition by reasons.customer_key) as first_excluded_from,
        row_number() over (partition by reasons.customer_key order by labels.sort) as nth
    from reasons
    inner join {{ ref('population_groups') }} as labels on reasons.reason = labels.population_group
)

select customer_key, reason, first_excluded_from as excluded_from
from ranked
where nth = 1
