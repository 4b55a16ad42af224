-- Visits of people: bots are out. A visit with one event has no measurable dwell time, so null and not 0.
with ranked as (
    select
        *,
        row_number() over (partition by source, session_id order by dt desc, rev desc, delivery_row desc, delivery desc)
            as nth,
        count(*) over (partition by source, session_id) as versions_n
    from {{ ref('stg_web__web_sessions') }}
    where not is_bot
),

sessions as (
    select
        *,
        case when pageviews > 1 and ended_at > started_at then {{ seconds_between('started_at', 'ended_at') }} end
            as dwell_s
    from ranked
    where nth = 1
)

select
    sessions.source,
    sessions.session_id,
    sessions.visitor_id,
    links.customer_key,
    sessions.session_date,
    sessions.started_at,
    sessions.ended_at,
    sessions.pageviews,
    sessions.dwell_s,
    coalesce(sessions.dwell_s > policy.session_engaged_seconds, false)
        or coalesce(sessions.pageviews >= policy.session_engaged_pageviews, false) as is_engaged,
    sessions.traffic_source,
    sessions.medium,
    sessions.campaign_code,
    sessions.device,
    sessions.region,
    sessions.platform,
    sessions.landing_page,
    sessions.versions_n
from sessions
inner join {{ ref('int_run_policy') }} as policy on sessions.session_date < policy.as_of_date
left join {{ ref('int_customer_links') }} as links
    on sessions.source = links.source and sessions.source_customer_id = links.source_customer_id
    and links.is_current
