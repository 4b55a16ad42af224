{{ config(materialized='table') }}
-- Which phone, e-mail, name and address of a person survives: not bounced before bounced, then trust, then recency.
{% set attributes = ['name', 'phone', 'email', 'address'] %}
with links as (
    select source, source_customer_id, customer_key from {{ ref('int_customer_links') }}
    where is_current
),

latest as (
    select
        customers.*,
        links.customer_key,
        coalesce(customers.updated_date, customers.registered_date, customers.dt) as stated_on,
        row_number() over (
            partition by customers.source, customers.source_customer_id
            order by customers.updated_at desc nulls last, customers.dt desc, customers.rev desc,
                customers.delivery_row desc, customers.delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }} as customers
    inner join links using (source, source_customer_id)
    where customers.is_in_force
),

stated as (
    {%- for attribute in attributes %}
    select
        customer_key, '{{ attribute }}' as attribute, {{ attribute }}_token as value_token, source, source_customer_id,
        updated_at, dt, stated_on
    from latest
    where nth = 1 and {{ attribute }}_token is not null
    {{- ' union all' if not loop.last }}
    {%- endfor %}
),

trusts as (
    select
        pairs.attribute,
        pairs.source,
        max_by(
            rules.trust,
            case when rules.source = '*' then 0 else 2 end + case when rules.attribute = '*' then 0 else 1 end
        ) as trust
    from (select distinct attribute, source from stated) as pairs
    inner join {{ ref('identity_sources') }} as rules
        on rules.source in (pairs.source, '*') and rules.attribute in (pairs.attribute, '*')
    inner join {{ ref('int_run_policy') }} as policy on {{ is_in_force('rules', 'policy.as_of_date') }}
    group by pairs.attribute, pairs.source
),

-- A bounce tells the person and the channel; what was stated later than it is another value.
bounces as (
    select
        links.customer_key,
        case when messages.channel = 'email' then 'email' else 'phone' end as attribute,
        max(messages.bounced_date) as bounced_on
    from {{ ref('stg_campaigns__messages') }} as messages
    inner join {{ ref('contact_bounces') }} as words
        on lower(messages.bounce_type) = words.bounce_type and words.is_permanent
    inner join {{ ref('int_run_policy') }} as policy on messages.bounced_date < policy.as_of_date
    inner join links
        on messages.source = links.source and messages.source_customer_id = links.source_customer_id
    where messages.channel in ('email', 'sms', 'call')
    group by links.customer_key, case when messages.channel = 'email' then 'email' else 'phone' end
),

judged as (
    select
        stated.*,
        trusts.trust,
        coalesce(bounces.bounced_on >= stated.stated_on, false) as is_bounced,
        max(stated.stated_on) over (
            partition by stated.customer_key, stated.attribute, stated.value_token
        ) as verified_on
    from stated
    inner join trusts using (attribute, source)
    left join bounces using (customer_key, attribute)
),

ranked as (
    select
        *,
        row_number() over (
            partition by customer_key, attribute
            order by is_bounced, trust, updated_at desc nulls last, dt desc, source, source_customer_id
        ) as place
    from judged
),

winners as (
    select
        ranked.*,
        case
            when ranked.is_bounced then 'invalid'
            when ranked.verified_on >= {{ date_minus('policy.as_of_date', 'policy.contact_fresh_days') }} then 'fresh'
            else 'stale'
        end as status
    from ranked
    cross join {{ ref('int_run_policy') }} as policy
    where ranked.place = 1
),

survived as (
    select
        customer_key,
        {%- for attribute in attributes %}
        max(case when attribute = '{{ attribute }}' then value_token end) as {{ attribute }}_token,
        max(case when attribute = '{{ attribute }}' then source end) as {{ attribute }}_source,
        {%- endfor %}
        max(case when attribute = 'phone' then status end) as phone_status,
        max(case when attribute = 'email' then status end) as email_status
    from winners
    group by customer_key
)

select
    survived.*,
    case
        when 'fresh' in (phone_status, email_status) then 'fresh'
        when 'stale' in (phone_status, email_status) then 'stale'
        when 'invalid' in (phone_status, email_status) then 'invalid'
        else 'none'
    end as contact_status
from survived
