{{ config(materialized='table') }}
-- Bounds of groups at every step of the re-scoring, of the build before or of today.
with policy as (
    select * from {{ ref('int_rescoring_steps') }}
),

today as (
    select * from {{ ref('int_group_bounds') }}
),

before as (
    select bounds.* from {{ ref('class_group_bounds') }} as bounds
    inner join (select min(as_of_date) as as_of_date from policy) as earlier on bounds.as_of_date = earlier.as_of_date
),

both_days as (
    select
        coalesce(today.scheme, before.scheme) as scheme,
        coalesce(today.group_name, before.group_name) as group_name,
        today.bound as bound_now,
        before.bound as bound_before,
        today.scheme is not null as is_there,
        before.scheme is not null as was_there,
        coalesce(before.is_suppressed, false) as was_hidden
    from today
    full join before on today.scheme = before.scheme and today.group_name = before.group_name
),

chosen as (
    select
        policy.step,
        both_days.*,
        case both_days.scheme
            {%- for scheme in ['price_sensitivity', 'affinity', 'clv'] %}
            when '{{ scheme }}' then policy.is_{{ scheme }}_of_today
            {%- endfor %}
        end as is_of_today
    from both_days
    cross join policy
)

-- A category of which nobody had bought on the one day is compared with what it was on the other; a rate of return that was
-- not known is not known. A bound of few people was not kept: that of today stands for it, and whoever is compared with it
-- may have moved by it.
select
    step,
    scheme,
    group_name,
    case
        when is_of_today and (is_there or scheme = 'clv') then bound_now
        when is_of_today then bound_before
        when was_hidden then bound_now
        when was_there or scheme = 'clv' then bound_before
        else bound_now
    end as bound,
    was_hidden and not is_of_today as is_bound_hidden
from chosen
