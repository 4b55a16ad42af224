-- S3-25: people of high and mid value with their last personal care, the day on which the next is due, and who minds
-- them: the employee who spoke to them last. Of low value nobody is due.
with policy as (
    select * from {{ ref('int_run_policy') }}
),

spoken as (
    select
        links.customer_key,
        contacts.employee_id,
        row_number() over (
            partition by links.customer_key
            order by contacts.contacted_at desc, contacts.source, contacts.contact_id
        ) as nth
    from {{ ref('stg_leads__contact_log') }} as contacts
    inner join policy on contacts.contacted_date < policy.as_of_date
    inner join {{ ref('int_customer_links') }} as links
        on contacts.source = links.source and contacts.source_customer_id = links.source_customer_id
        and links.is_current
    where contacts.employee_id is not null
)

select
    wide.customer_key,
    wide.as_of_date,
    wide.value_class as value_tier,
    case when wide.value_class = 'high' then policy.care_high_days else policy.care_mid_days end as care_interval_days,
    wide.last_care_date,
    wide.care_due_date,
    wide.care_overdue_days,
    spoken.employee_id as owner,
    case
        when wide.value_class = 'high' and spoken.employee_id is null then 'no_owner'
        when wide.last_care_date is null then 'never_cared'
        when wide.care_overdue_days > 0 then 'overdue'
    end as exception,
    wide.policy_version
from {{ ref('customer_360') }} as wide
cross join policy
left join spoken on wide.customer_key = spoken.customer_key and spoken.nth = 1
where wide.care_due_date is not null
