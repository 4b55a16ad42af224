{{ config(meta={'dagster': {'ref': {'name': 'fct_orders'}}, 'description': "Something of the as-of day or later is counted (Q-12): a window of D ends before D, and the same run tomorrow would give other numbers for it."}) }}
with moments as (
    select 'paid order' as what, source, order_id as id, paid_date as day from {{ ref('fct_orders') }}
    where is_paid or is_valid
    union all
    select 'booked return' as what, source, return_id as id, return_date as day from {{ ref('fct_returns') }}
    where is_booked or is_valid
    union all
    select 'session' as what, source, session_id as id, session_date as day from {{ ref('fct_sessions') }}
    union all
    select 'ticket' as what, source, ticket_id as id, created_date as day from {{ ref('fct_tickets') }}
    union all
    select 'answer' as what, source, response_id as id, answered_date as day from {{ ref('fct_survey_responses') }}
    union all
    select 'channel day' as what, 'all' as source, channel_id as id, day from {{ ref('channel_performance') }}
)

select moments.*
from moments
inner join {{ ref('int_run_policy') }} as policy on moments.day >= policy.as_of_date
