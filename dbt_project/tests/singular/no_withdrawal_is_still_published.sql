{{ config(meta={'dagster': {'ref': {'name': 'segment_membership'}}, 'description': "Someone who had withdrawn before D is still in the published segments, or still marked for a channel (Q-17): the withdrawal does not reach what is published."}) }}
-- Read from the delivered words: a withdrawal of the day before D or earlier that the same record has not taken back.
{% set channels = ['email', 'sms', 'ads'] %}
with words as (
    select
        links.customer_key, links.source, links.source_customer_id, consents.purpose, consents.channel,
        consents.action, consents.consented_at, consents.consent_date
    from {{ ref('stg_customers__consents') }} as consents
    inner join {{ ref('int_customer_links') }} as links
        on consents.source = links.source and consents.source_customer_id = links.source_customer_id
        and links.is_current
),

withdrawn as (
    {%- for channel in channels + ['all'] %}
    select words.customer_key, words.purpose, '{{ channel }}' as channel, words.consent_date as withdrawn_on
    from words
    inner join {{ ref('int_run_policy') }} as policy on words.consent_date < policy.as_of_date
    where words.action <> 'grant' and words.channel in ('{{ channel }}', 'all') and not exists (
        select 1 from words as later
        where later.action = 'grant'
            and later.source = words.source
            and later.source_customer_id = words.source_customer_id
            and later.purpose = words.purpose
            and later.consented_at > words.consented_at
            {%- if channel != 'all' %}
            and later.channel in ('{{ channel }}', 'all')
            {%- endif %}
    )
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

published as (
    select distinct customer_key
        {%- for channel in channels %}, consent_{{ channel }}{% endfor %}
    from {{ ref('segment_membership') }}
)

select published.customer_key, withdrawn.purpose, withdrawn.channel, max(withdrawn.withdrawn_on) as withdrawn_on
from published
inner join withdrawn on published.customer_key = withdrawn.customer_key
where (withdrawn.channel = 'all' and withdrawn.purpose in ('marketing', 'profiling'))
    {%- for channel in channels %}
    or (withdrawn.channel = '{{ channel }}' and withdrawn.purpose = 'marketing' and published.consent_{{ channel }})
    {%- endfor %}
group by published.customer_key, withdrawn.purpose, withdrawn.channel
