-- People with at least one source id. Attributes survive from the latest row of any of their ids that states them.
{% set attributes = ['gender', 'occupation', 'income_band', 'education', 'household_size', 'province',
                     'city', 'language', 'registered_date'] %}
{% set fields = {
    'age': 'profiles.plausible_age is not null',
    'gender': 'profiles.gender is not null',
    'phone': 'contacts.phone_token is not null',
    'email': 'contacts.email_token is not null',
    'address': 'contacts.address_token is not null',
    'name': 'contacts.name_token is not null',
    'province': 'profiles.province is not null',
    'city': 'profiles.city is not null',
    'occupation': 'profiles.occupation is not null',
    'education': 'profiles.education is not null',
    'income': 'profiles.income_stated_on is not null',
    'household': 'profiles.household_size is not null',
    'language': 'profiles.language is not null',
} %}
with policy as (
    select * from {{ ref('int_run_policy') }}
),

required as (
    {{ required_fields('b2c', fields) }}
),

links as (
    select * from {{ ref('int_customer_links') }}
    where is_current
),

people as (
    select customer_key, min(first_seen) as first_seen, max(last_seen) as last_seen, count(*) as source_ids_n
    from links
    group by customer_key
),

latest as (
    select
        *,
        row_number() over (
            partition by source, source_customer_id
            order by updated_at desc nulls last, dt desc, rev desc, delivery_row desc, delivery desc
        ) as nth
    from {{ ref('stg_customers__customers') }}
    where is_in_force
),

aged as (
    select
        latest.*,
        {{ age_on('latest', 'policy.as_of_date') }} as age,
        policy.age_max,
        coalesce(latest.updated_date, latest.dt) as stated_on,
        latest.income_declared_month is not null or latest.income_band is not null as states_income
    from latest
    cross join {{ ref('int_run_policy') }} as policy
    where latest.nth = 1
),

ordered as (
    select
        links.customer_key,
        aged.*,
        row_number() over (
            partition by links.customer_key
            order by aged.updated_at desc nulls last, aged.dt desc, aged.source, aged.source_customer_id
        ) as place
    from aged
    inner join links using (source, source_customer_id)
),

profiles as (
    select
        customer_key,
        {%- for column in attributes %}
        min_by({{ column }}, place) filter (where {{ column }} is not null) as {{ column }},
        {%- endfor %}
        min_by(age, place) filter (where age is not null) as age,
        min_by(age, place) filter (where age between 0 and age_max) as plausible_age,
        min_by(stated_on, place) filter (where age between 0 and age_max) as age_stated_on,
        min_by(stated_on, place) filter (where household_size is not null) as household_size_stated_on,
        -- One statement of income: amount, band, home and day are those of one row, so none of them may be null here.
        min_by(coalesce(income_declared_month, -1), place) filter (where states_income) as income_month,
        min_by(coalesce(income_band, ''), place) filter (where states_income) as income_month_band,
        min_by(coalesce(province, ''), place) filter (where states_income) as income_province,
        min_by(coalesce(city, ''), place) filter (where states_income) as income_city,
        min_by(stated_on, place) filter (where states_income) as income_stated_on,
        min(age) as youngest_age,
        bool_or(is_test) as is_test,
        bool_or(is_employee) as is_employee
    from ordered
    group by customer_key
)

select
    people.customer_key,
    people.first_seen,
    people.last_seen,
    people.source_ids_n,
    {%- for column in attributes %}
    profiles.{{ column }},
    {%- endfor %}
    profiles.household_size_stated_on,
    nullif(profiles.income_month, -1) as income_month,
    nullif(profiles.income_month_band, '') as income_month_band,
    nullif(profiles.income_province, '') as income_province,
    nullif(profiles.income_city, '') as income_city,
    profiles.income_stated_on,
    cast(profiles.age as integer) as age,
    cast(profiles.plausible_age as integer) as plausible_age,
    profiles.age_stated_on,
    -- One source that says "under age" is enough.
    coalesce(profiles.youngest_age < policy.adult_age, false) as is_minor,
    coalesce(profiles.is_test, false) as is_test,
    coalesce(profiles.is_employee, false) as is_employee,
    {%- for column in ['name', 'phone', 'email', 'address'] %}
    contacts.{{ column }}_token,
    contacts.{{ column }}_source,
    {%- endfor %}
    contacts.phone_status,
    contacts.email_status,
    contacts.phone_token is not null as has_phone,
    contacts.email_token is not null as has_email,
    coalesce(contacts.contact_status, 'none') as contact_status,
    cast({{ filled_fields(fields, 'required') }} as integer) as profile_filled_n,
    cast(required.required_n as integer) as profile_required_n,
    policy.as_of_date
from people
cross join policy
cross join required
left join profiles using (customer_key)
left join {{ ref('int_customer_contacts') }} as contacts using (customer_key)
