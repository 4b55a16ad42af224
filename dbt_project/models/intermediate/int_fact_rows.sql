{{ config(materialized='table') }}
-- The end of every row in force that a fact table takes: in the fact and why it counts or not, merged into a later
-- version of the same thing, or left out. Each number is counted where it arises, so that a lost row shows.
{% set latest_wins = [
    ('web_sessions', ref('stg_web__web_sessions'), ref('fct_sessions'), ['source', 'session_id'], 'not is_bot'),
    ('survey_responses', ref('stg_feedback__survey_responses'), ref('fct_survey_responses'),
     ['source', 'response_id', 'question_id'], 'true'),
    ('tickets', ref('stg_feedback__tickets'), ref('fct_tickets'), ['source', 'ticket_id'], 'true'),
] %}
with policy as (
    select * from {{ ref('int_run_policy') }}
),

orders as (
    select
        orders.source,
        case
            when orders.is_valid then 'valid'
            when orders.is_test then 'test'
            when orders.status = 'cancelled' then 'cancelled'
            when orders.paid_date is null or not {{ is_paid_status('orders.status') }} then 'unpaid'
            when orders.paid_date >= policy.as_of_date then 'paid_later'
            when orders.exchange_rate is null then 'currency_without_rate'
            when orders.customer_key is null then 'guest'
            else 'internal'
        end as reason,
        count(*) as rows_n,
        sum(orders.versions_n - 1) as merged_n,
        sum(orders.line_n) as line_n
    from {{ ref('fct_orders') }} as orders
    cross join policy
    group by 1, 2
),

orphan_lines as (
    select source, sum(line_n) as rows_n from {{ ref('int_lines_without_order') }}
    group by source
),

merged_lines as (
    select source, sum(versions_n - 1) as rows_n from {{ ref('int_order_lines_repaired') }}
    where is_current
    group by source
),

returns as (
    select
        returns.source,
        case
            when returns.is_valid then 'valid'
            when returns.return_date >= policy.as_of_date then 'booked_later'
            when returns.exchange_rate is null then 'currency_without_rate'
            when not returns.is_booked then 'not_countable'
            when returns.customer_key is null then 'guest'
            else 'internal'
        end as reason,
        count(*) as rows_n,
        sum(returns.versions_n - 1) as merged_n
    from {{ ref('fct_returns') }} as returns
    cross join policy
    group by 1, 2
),

states as (
    select source, 'orders' as feed, 'in_fact' as state, reason, rows_n from orders
    union all
    select source, 'orders' as feed, 'merged' as state, 'later_version' as reason, merged_n as rows_n from orders
    union all
    select source, 'order_lines' as feed, 'in_fact' as state, 'order_' || reason as reason, line_n as rows_n from orders
    union all
    select source, 'order_lines' as feed, 'in_fact' as state, 'without_order' as reason, rows_n from orphan_lines
    union all
    select source, 'order_lines' as feed, 'merged' as state, 'later_version' as reason, rows_n from merged_lines
    union all
    select source, 'returns' as feed, 'in_fact' as state, reason, rows_n from returns
    union all
    select source, 'returns' as feed, 'merged' as state, 'later_version' as reason, merged_n as rows_n from returns
    {% for feed, staging, fact, keys, counts in latest_wins %}
    union all
    select source, '{{ feed }}' as feed, 'in_fact' as state, 'counted' as reason, count(*) as rows_n from {{ fact }}
    group by source
    union all
    select source, '{{ feed }}' as feed, 'merged' as state, 'later_version' as reason, sum(versions_n - 1) as rows_n
    from {{ fact }}
    group by source
    union all
    select source, '{{ feed }}' as feed, 'left_out' as state, 'not_before_d' as reason, count(*) as rows_n
    from {{ staging }}
    anti join {{ fact }} using ({{ keys | join(', ') }})
    where {{ counts }}
    group by source
    {% endfor %}
    union all
    select source, 'web_sessions' as feed, 'left_out' as state, 'bot' as reason, count(*) as rows_n
    from {{ ref('stg_web__web_sessions') }}
    where is_bot
    group by source
)

select source, feed, state, reason, cast(sum(rows_n) as bigint) as rows_n
from states
group by source, feed, state, reason
having sum(rows_n) > 0
