{{ config(meta={'dagster': {'ref': {'name': 'segment_membership'}}, 'description': "Someone is marked as one to write to whose contact was not confirmed for the policy's days or has bounced (Q-09): messages would reach nobody, or somebody else."}) }}
select distinct membership.customer_key, customers.contact_status
from {{ ref('segment_membership') }} as membership
left join {{ ref('dim_customers') }} as customers on membership.customer_key = customers.customer_key
where (membership.consent_email or membership.consent_sms or membership.consent_ads)
    and customers.contact_status is distinct from 'fresh'
