-- The state of consent per person, purpose and channel. Each source record of a person speaks for itself: its latest word
-- wins, a withdrawal wins a tie, and `all` speaks for every channel. The records of one person intersect: consent is
-- there where at least one of them grants and none of those that have spoken refuses. No word is no consent.
-- Whoever leaves a message's list, or calls it spam, refuses marketing on its channel for the whole person: the tool that
-- sends hears of no grant, so any record's later one ends it.
with consents as (
    select
        consents.source,
        consents.source_customer_id,
        'withdrawal' as word,
        consents.purpose,
        consents.channel,
        consents.action,
        consents.consented_at,
        consents.consent_date,
        consents.legal_basis
    from {{ ref('stg_customers__consents') }} as consents
    cross join {{ ref('int_run_policy') }} as policy
    -- A grant counts from its day on; a withdrawal that is known is heeded at once.
    where consents.consent_date < policy.as_of_date or consents.action <> 'grant'
),

-- Every state of a message that was delivered speaks: a later state without the time takes nothing back.
left_by_message as (
    {%- for word, at in [('unsubscribe', 'unsubscribed'), ('complaint', 'complained')] %}
    select
        source,
        source_customer_id,
        '{{ word }}' as word,
        'marketing' as purpose,
        channel,
        'withdraw' as action,
        {{ at }}_at as consented_at,
        {{ at }}_date as consent_date,
        cast(null as varchar) as legal_basis
    from {{ ref('stg_campaigns__messages') }}
    where {{ at }}_at is not null
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

words as (
    select said.*, links.customer_key
    from (select * from consents union all select * from left_by_message) as said
    inner join {{ ref('int_customer_links') }} as links
        on said.source = links.source and said.source_customer_id = links.source_customer_id and links.is_current
),

channels as (
    select customer_key, purpose, channel from words
    union
    select distinct words.customer_key, words.purpose, other.channel
    from words
    cross join (select distinct channel from words where channel <> 'all') as other
    where words.channel = 'all'
),

ranked as (
    select
        channels.customer_key,
        channels.purpose,
        channels.channel,
        words.word,
        words.action = 'grant' as grants,
        words.consented_at,
        words.consent_date,
        words.legal_basis,
        max(case when words.action = 'grant' then words.consented_at end) over (
            partition by channels.customer_key, channels.purpose, channels.channel
        ) as last_granted_at,
        row_number() over (
            partition by channels.customer_key, channels.purpose, channels.channel,
                words.source, words.source_customer_id, words.word
            order by words.consented_at desc, case when words.action = 'grant' then 1 else 0 end, words.legal_basis
        ) as nth
    from channels
    inner join words
        on channels.customer_key = words.customer_key
        and channels.purpose = words.purpose
        and words.channel in (channels.channel, 'all')
),

standing as (
    select *
    from ranked
    where case when word = 'withdrawal' then nth = 1 else coalesce(consented_at >= last_granted_at, true) end
),

intersected as (
    select
        customer_key,
        purpose,
        channel,
        bool_and(grants) as is_granted,
        -- Granted since the last record agreed, refused since the first one refused.
        max(case when grants then consent_date end) as granted_from,
        min(case when not grants then consent_date end) as refused_from,
        min(case when grants then legal_basis end) as granted_basis,
        min(case when not grants then legal_basis end) as refused_basis,
        min(case when not grants then word end) as refused_by
    from standing
    group by customer_key, purpose, channel
)

select
    states.customer_key,
    states.purpose,
    states.channel,
    states.is_granted,
    case when states.is_granted then states.granted_from else states.refused_from end as valid_from,
    case when states.is_granted then states.granted_basis else states.refused_basis end as legal_basis,
    states.refused_by,
    policy.as_of_date
from intersected as states
cross join {{ ref('int_run_policy') }} as policy
