-- What each person allows, in one row: marketing and profiling at all, and marketing by channel. A word on a channel
-- outweighs the word on all of them. Where marketing is refused, by what.
select
    customer_key,
    bool_or(purpose = 'marketing' and is_granted) as has_marketing,
    bool_or(purpose = 'profiling' and is_granted) as has_profiling
    {%- for channel in ['email', 'sms', 'wechat', 'push', 'call', 'ads'] %},
    bool_or(purpose = 'marketing' and channel in ('{{ channel }}', 'all') and is_granted)
        and not bool_or(purpose = 'marketing' and channel = '{{ channel }}' and not is_granted)
        as consent_{{ channel }}
    {%- endfor %},
    {{ dbt.listagg("case when purpose = 'marketing' then channel || ':' || refused_by end", "'|'", "order by channel") }}
        as refused_channels
from {{ ref('fct_consent_states') }}
group by customer_key
