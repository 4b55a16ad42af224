{{ config(meta={'dagster': {'ref': {'name': 'segment_membership'}}, 'description': "Someone without live consent to marketing and profiling, under age or internal is in the published segments (Q-16, Q-17, Q-19): releasing them would break the law."}) }}
-- Read from the delivered words, not from the derived states: a grant that no withdrawal of its channel, or of all
-- channels, follows or equals in time.
with words as (
    select links.customer_key, consents.purpose, consents.channel, consents.action, consents.consented_at
    from {{ ref('stg_customers__consents') }} as consents
    inner join {{ ref('int_customer_links') }} as links
        on consents.source = links.source and consents.source_customer_id = links.source_customer_id
        and links.is_current
),

live as (
    select distinct grants.customer_key, grants.purpose
    from words as grants
    where grants.action = 'grant' and not exists (
        select 1 from words as withdrawals
        where withdrawals.action <> 'grant'
            and withdrawals.customer_key = grants.customer_key
            and withdrawals.purpose = grants.purpose
            and withdrawals.channel in (grants.channel, 'all')
            and withdrawals.consented_at >= grants.consented_at
    )
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
    or customers.is_minor or customers.is_test or customers.is_employee or customers.customer_key is null
