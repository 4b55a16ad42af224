-- The state of consent per purpose and channel. The latest word wins, a withdrawal wins a tie, no word is no consent.
-- `all` speaks for every channel, so each channel is decided by its own words and those on `all` together.
with words as (
    select
        links.customer_key,
        consents.purpose,
        consents.channel,
        consents.action,
        consents.consented_at,
        consents.consent_date,
        consents.legal_basis
    from {{ ref('stg_customers__consents') }} as consents
    inner join {{ ref('int_customer_links') }} as links
        on consents.source = links.source and consents.source_customer_id = links.source_customer_id
        and links.is_current
    cross join {{ ref('int_run_policy') }} as policy
    -- A grant counts from its day on; a withdrawal that is known is heeded at once.
    where consents.consent_date < policy.as_of_date or consents.action <> 'grant'
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
        words.action,
        words.consent_date,
        words.legal_basis,
        row_number() over (
            partition by channels.customer_key, channels.purpose, channels.channel
            order by words.consented_at desc, case when words.action = 'grant' then 1 else 0 end, words.legal_basis
        ) as nth
    from channels
    inner join words
        on channels.customer_key = words.customer_key
        and channels.purpose = words.purpose
        and words.channel in (channels.channel, 'all')
)

select
    ranked.customer_key,
    ranked.purpose,
    ranked.channel,
    ranked.action = 'grant' as is_granted,
    ranked.consent_date as valid_from,
    ranked.legal_basis,
    policy.as_of_date
from ranked
cross join {{ ref('int_run_policy') }} as policy
where ranked.nth = 1
