{{ config(materialized='table') }}
-- What this home collects at all: without it nobody's class is their own fault.
with asked as (
    select
        coalesce(bool_or(question_type = 'motive'), false) as asks_motive,
        coalesce(bool_or(question_type = 'intent'), false) as asks_intent
    from {{ ref('stg_feedback__surveys') }}
),

seen as (
    select count(*) > 0 as sees_events from (select 1 as one from {{ ref('stg_web__touchpoints') }} limit 1) as first_event
),

stated as (
    select
        coalesce(bool_or(age is not null), false) as states_age,
        coalesce(bool_or(household_size is not null), false) as states_household,
        coalesce(bool_or(income_stated_on is not null), false) as states_income
    from {{ ref('dim_customers') }}
)

select asked.*, seen.*, stated.*
from asked
cross join seen
cross join stated
