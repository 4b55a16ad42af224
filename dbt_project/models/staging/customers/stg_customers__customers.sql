-- Every delivery in force on D or on the refresh date: a reader filters on is_in_force or was_in_force.
with source as (
    select * from {{ source('raw', 'customers') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.source_customer_id,

        -- tokens
        source.name_token,
        source.phone_token,
        source.email_token,
        source.address_token,

        -- attributes
        source.birth_year,
        source.birth_month_day,
        source.gender,
        source.occupation,
        source.income_band,
        source.education,
        source.has_children,
        source.province,
        source.city,
        source.postcode,
        source.skin_type,
        source.language,
        coalesce(source.is_test, false) as is_test,
        coalesce(source.is_employee, false) as is_employee,

        -- numerics
        source.household_size,
        source.income_declared_month,

        -- timestamps
        source.registered_at,
        source.updated_at,
        {{ local_date('source.registered_at', 'deliveries.zone') }} as registered_date,
        {{ local_date('source.updated_at', 'deliveries.zone') }} as updated_date,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row,
        deliveries.is_in_force,
        deliveries.was_in_force
    from source
    inner join deliveries on source._delivery = deliveries.delivery
)

select * from renamed
