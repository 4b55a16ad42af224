with source as (
    select * from {{ source('raw', 'accounts') }}
),

deliveries as (
    select * from {{ ref('deliveries_in_force') }}
),

renamed as (
    select
        -- ids
        deliveries.source,
        source.source_account_id,
        source.parent_account_id,
        source.owner_employee_id,

        -- tokens
        source.legal_name_token,
        source.reg_no_token,

        -- attributes
        source.industry_code,
        source.region,
        source.pain_points,

        -- numerics
        source.employees,

        -- money
        source.revenue_year,

        -- timestamps
        source.since_date,
        source.updated_at,

        -- delivery
        deliveries.dt,
        deliveries.rev,
        source._delivery as delivery,
        source._row as delivery_row
    from source
    inner join deliveries on source._delivery = deliveries.delivery
    where deliveries.is_in_force
)

select * from renamed
