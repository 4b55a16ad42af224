{{ config(meta={'dagster': {'ref': {'name': 'segment_membership'}}, 'description': "A minor is in the published segments, or a child has been classed at all (Q-19): sources state an age below the policy's."}) }}
with published as (
    select distinct customer_key from {{ ref('segment_membership') }}
),

classed as (
    select customer_key from {{ ref('customer_rfm') }}
    union
    select customer_key from {{ ref('customer_abc') }}
    union
    select customer_key from {{ ref('customer_value') }}
    union
    select customer_key from {{ ref('customer_lifecycle') }}
)

select 'a minor is published' as rule, ages.customer_key, ages.youngest_age
from published
inner join {{ ref('int_customer_ages') }} as ages on published.customer_key = ages.customer_key
inner join {{ ref('int_run_policy') }} as policy on ages.youngest_age < policy.adult_age

union all

select 'a child is classed' as rule, ages.customer_key, ages.youngest_age
from classed
inner join {{ ref('int_customer_ages') }} as ages on classed.customer_key = ages.customer_key
inner join {{ ref('int_run_policy') }} as policy on ages.youngest_age < policy.profiling_min_age
