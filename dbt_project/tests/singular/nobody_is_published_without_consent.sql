{{ config(meta={'dagster': {'ref': {'name': 'segment_membership'}}, 'description': "Someone without live consent to marketing and profiling, or a test or staff account, is in the published segments (Q-16): releasing them would break the law."}) }}
-- Read from the delivered words, not from the derived states: a channel of which at least one record of the person has
-- spoken, and of which each record that has spoken granted after its last withdrawal.
with words as (
    select
        links.customer_key, links.source, links.source_customer_id, consents.purpose, consents.channel,
        consents.action, consents.consented_at
    from {{ ref('stg_customers__consents') }} as consents
    inner join {{ ref('int_customer_links') }} as links
        on consents.source = links.source and consents.source_customer_id = links.source_customer_id
        and links.is_current
),

records as (
    select
        words.customer_key,
        words.purpose,
        channels.channel,
        coalesce(
            max(case when words.action = 'grant' then words.consented_at end)
            > max(case when words.action <> 'grant' then words.consented_at end),
            bool_and(words.action = 'grant')
        ) as grants
    from words
    inner join (select distinct customer_key, purpose, channel from words) as channels
        on words.customer_key = channels.customer_key and words.purpose = channels.purpose
        and words.channel in (channels.channel, 'all')
    group by words.customer_key, words.purpose, channels.channel, words.source, words.source_customer_id
),

live as (
    select distinct customer_key, purpose
    from (
        select customer_key, purpose, channel from records
        group by customer_key, purpose, channel
        having bool_and(grants)
    ) as granted
),

published as (
    select distinct customer_key from {{ ref('segment_membership') }}
)

select published.customer_key
from published
left join live as marketing on published.customer_key = marketing.customer_key and marketing.purpose = 'marketing'
left join live as profiling on published.customer_key = profiling.customer_key and profiling.purpose = 'profiling'
left join {{ ref('dim_customers') }} as customers on published.customer_key = customers.customer_key
where marketing.customer_key is null or profiling.customer_key is null
    or customers.is_test or customers.is_employee or customers.customer_key is null
