-- P-14: marketing messages of 7 and 30 days over all channels, and until when nothing more may be sent.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

sent as (
    select
        messages.*,
        row_number() over (
            partition by messages.customer_key order by messages.sent_date desc, messages.source, messages.message_id
        ) as nth
    from {{ ref('int_messages') }} as messages
    inner join policy on messages.sent_date >= {{ date_minus('policy.as_of_date', 30) }}
    where messages.is_marketing
),

counted as (
    select
        sent.customer_key,
        count(*) filter (where sent.sent_date >= {{ date_minus('policy.as_of_date', 7) }}) as messages_7d,
        count(*) as messages_30d,
        {%- for channel in ['email', 'sms', 'wechat', 'push', 'call'] %}
        count(*) filter (where sent.channel = '{{ channel }}') as {{ channel }}_30d,
        {%- endfor %}
        max(sent.sent_date) as last_message_date,
        -- The window is full until its oldest message that makes it so has left.
        max(case when sent.nth = policy.pressure_7d_max then {{ date_plus('sent.sent_date', 7) }} end) as full_7d_until,
        max(case when sent.nth = policy.pressure_30d_max then {{ date_plus('sent.sent_date', 30) }} end) as full_30d_until
    from sent
    cross join policy
    group by sent.customer_key
)

select
    counted.customer_key,
    policy.as_of_date,
    cast(counted.messages_7d as integer) as messages_7d,
    cast(counted.messages_30d as integer) as messages_30d,
    {%- for channel in ['email', 'sms', 'wechat', 'push', 'call'] %}
    cast(counted.{{ channel }}_30d as integer) as {{ channel }}_30d,
    {%- endfor %}
    counted.last_message_date,
    counted.messages_7d >= policy.pressure_7d_max or counted.messages_30d >= policy.pressure_30d_max as is_capped,
    case
        when counted.messages_7d >= policy.pressure_7d_max and counted.messages_30d >= policy.pressure_30d_max
            then greatest(counted.full_7d_until, counted.full_30d_until)
        when counted.messages_7d >= policy.pressure_7d_max then counted.full_7d_until
        when counted.messages_30d >= policy.pressure_30d_max then counted.full_30d_until
    end as suppress_until,
    policy.policy_version
from counted
cross join policy
anti join {{ ref('int_persons_excluded') }} as excluded using (customer_key)
